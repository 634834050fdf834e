/* Stands in for libnvidia-ml.so.1, NVIDIA's driver library, where there is no card: it answers as its documentation says.

   What it tells lies in a file beside it, of lines "key value"; a key that is not there is "not supported" (3). The
   file may change while a process has the library open, and one that cannot be read keeps whoever asks waiting, as a
   FIFO that nobody writes to does. NVIDIA's headers are in no package: what is used of the interface is written down. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

typedef int Result;
typedef struct {
    unsigned long long reference_ns, held_back_ns;
} Violation;

static int find(const char *key, char *value, size_t size) {
    Dl_info here;
    char path[4096], line[512];
    dladdr((void *)find, &here);
    snprintf(path, sizeof path, "%s.txt", here.dli_fname);
    FILE *file = fopen(path, "r");
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        size_t length = strlen(key);
        found = !strncmp(line, key, length) && line[length] == ' ';
        if (found) snprintf(value, size, "%s", line + length + 1);
    }
    if (file) fclose(file);
    return found;
}

/* A value "!15" is an error of that number. */
static Result text(const char *key, char *into, unsigned size) {
    char value[512];
    if (!find(key, value, sizeof value)) return NOT_SUPPORTED;
    if (value[0] == '!') return atoi(value + 1);
    if (strlen(value) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(into, value);
    return SUCCESS;
}

static Result wide(const char *key, unsigned long long *into) {
    char value[64];
    Result result = text(key, value, sizeof value);
    if (result == SUCCESS) *into = strtoull(value, NULL, 0);
    return result;
}

static Result number(const char *key, unsigned *into) {
    unsigned long long value;
    Result result = wide(key, &value);
    if (result == SUCCESS) *into = (unsigned)value;
    return result;
}

/* A card's handle points to its number. */
static const char *of(void *card, const char *what, int detail) {
    static _Thread_local char key[64];
    if (detail < 0)
        snprintf(key, sizeof key, "%d.%s", *(int *)card, what);
    else
        snprintf(key, sizeof key, "%d.%s.%d", *(int *)card, what, detail);
    return key;
}

Result nvmlInitWithFlags(unsigned flags) {
    unsigned ignored;
    Result result = flags ? INVALID_ARGUMENT : number("init", &ignored);
    return result == NOT_SUPPORTED ? SUCCESS : result;
}

const char *nvmlErrorString(Result result) {
    return result == 15 ? "GPU is lost" : result == 18 ? "Driver/library version mismatch" : "Unknown Error";
}

Result nvmlSystemGetDriverVersion(char *into, unsigned size) { return text("driver", into, size); }
Result nvmlDeviceGetCount_v2(unsigned *into) { return number("cards", into); }

Result nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {
    static int numbers[] = {0, 1, 2, 3};
    char key[64];
    unsigned ignored;
    snprintf(key, sizeof key, "%u.handle", index);
    Result result = number(key, &ignored);
    if (result != NOT_SUPPORTED) return result;
    *card = &numbers[index];
    return SUCCESS;
}

Result nvmlDeviceGetName(void *card, char *into, unsigned size) { return text(of(card, "name", -1), into, size); }
Result nvmlDeviceGetMaxClockInfo(void *card, int domain, unsigned *into) { return number(of(card, "most", domain), into); }
Result nvmlDeviceGetApplicationsClock(void *card, int domain, unsigned *into) {
    return number(of(card, "set", domain), into);
}
Result nvmlDeviceGetPowerManagementLimit(void *card, unsigned *into) { return number(of(card, "power", -1), into); }
Result nvmlDeviceGetTemperature(void *card, int sensor, unsigned *into) {
    return number(of(card, "temperature", sensor), into);
}
#ifdef BEFORE_535
Result nvmlDeviceGetCurrentClocksThrottleReasons(void *card, unsigned long long *into)
#else
Result nvmlDeviceGetCurrentClocksEventReasons(void *card, unsigned long long *into)
#endif
{
    return wide(of(card, "reasons", -1), into);
}
Result nvmlDeviceGetViolationStatus(void *card, int policy, Violation *into) {
    into->reference_ns = 1;
    return wide(of(card, "violation", policy), &into->held_back_ns);
}
