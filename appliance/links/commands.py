"""Commands from the plant: read, carried out in their own time, answered where the sender wants it."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from appliance.command_messages import CommandMessage, reply
from appliance.errors import ApplianceError
from appliance.links.envelopes import Incoming, Outgoing
from appliance.links.errands import Errands
from appliance.links.topics import Topics
from appliance.ports import Answer

log = logging.getLogger(__name__)

BUSY = "too many commands are waiting; try again in a moment"


class Commands:
    """Takes command/<name> and answers it; an answer goes nowhere but to the sender's response topic."""

    def __init__(self, topics: Topics, device_id: str, errands: Errands, publish: Callable[[Outgoing], bool]) -> None:
        """Prepare to take commands.

        Args:
            topics: of this station, none of which may be a response topic.
            device_id: of who answers.
            errands: the thread that carries commands out.
            publish: sends an answer; False if it cannot.
        """
        self._topics = topics
        self._device_id = device_id
        self._errands = errands
        self._publish = publish

    def take(
        self,
        name: str,
        message: CommandMessage,
        incoming: Incoming,
        carry_out: Callable[[str, dict[str, Any]], Answer],
    ) -> None:
        """Carry a command out in the errands' thread; a station that has too many waiting says so at once.

        What takes longer than a moment has a thread of its own, and its answer follows when it is there.

        Args:
            name: of the command.
            message: what it says.
            incoming: how it came: MQTT 5 response topic and correlation data.
            carry_out: called with name and arguments; returns `ok`, `error` and the result, or a Future of them.
        """

        def work() -> None:
            try:
                answer = carry_out(name, message.arguments)
            except ApplianceError as error:
                answer = {"ok": False, "error": str(error)}
            if isinstance(answer, Future):
                answer.add_done_callback(lambda done: self._answer(name, done.result(), message, incoming))
            else:
                self._answer(name, answer, message, incoming)

        if not self._errands.command(work):
            self._answer(name, {"ok": False, "error": BUSY, "try_again": True}, message, incoming)

    def _answer(self, name: str, answer: dict[str, Any], message: CommandMessage, incoming: Incoming) -> None:
        topic = incoming.response_topic or message.response_topic
        if topic is None or not self._topics.may_answer_on(topic):
            log.warning("command %s: %s; nobody is told, for it came without a fit response topic", name, answer)
            return
        payload = reply(self._device_id, name, answer, message.correlation)
        if not self._publish(Outgoing(topic, payload, token="reply", correlation=incoming.correlation)):
            log.warning("command %s: the answer could not be sent: %s", name, answer)
