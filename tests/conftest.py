"""Settings that every test shares."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect; speed belongs in benchmarks
settings.load_profile("unhurried")
