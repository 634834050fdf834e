/* A library of ONNX Runtime's operators with one, `faults.Fail`, that ends as a provider does whose device is lost.

   ONNX Runtime's headers are in no wheel: what is used of its C interface, which only grows, is written down here. */
#include <stddef.h>
#include <stdint.h>

typedef void *(*Function)();
typedef struct {
    const Function *(*functions)(uint32_t version);
} Base;

enum { VERSION = 16, FLOAT = 1, EP_FAIL = 11, CREATE_STATUS = 0, CREATE_DOMAIN = 26, ADD_TO_DOMAIN = 27, ADD_DOMAIN = 28 };

typedef struct {
    uint32_t version;
    void *create;
    const char *(*name)(const void *);
    const char *(*provider)(const void *);
    int (*input_type)(const void *, size_t);
    size_t (*inputs)(const void *);
    int (*output_type)(const void *, size_t);
    size_t (*outputs)(const void *);
    void *compute;
    void (*destroy)(void *);
    int (*input_kind)(const void *, size_t);
    int (*output_kind)(const void *, size_t);
    int (*input_memory)(const void *, size_t);
    int (*variadic[4])(const void *);
    void *(*create_kernel)(const void *, const void *, const void *, void **);
    void *(*compute_kernel)(void *, void *);
    void *infer_shape;
    int (*version_from)(const void *);
    int (*version_to)(const void *);
} Operator;

static const Function *ort;

static const char *name(const void *self) { return "Fail"; }
static const char *on_the_processor(const void *self) { return NULL; }
static int is_float(const void *self, size_t index) { return FLOAT; }
static size_t one(const void *self) { return 1; }
static int zero_of(const void *self, size_t index) { return 0; }
static int first(const void *self) { return 1; }
static void destroy(void *kernel) {}

static void *create_kernel(const void *self, const void *api, const void *info, void **kernel) {
    static int nothing;
    *kernel = &nothing;
    return NULL;
}

static void *lose_the_device(void *kernel, void *context) { return ort[CREATE_STATUS](EP_FAIL, "the device is lost"); }

static const Operator fail = {
    .version = VERSION, .name = name, .provider = on_the_processor, .input_type = is_float, .inputs = one,
    .output_type = is_float, .outputs = one, .destroy = destroy, .input_kind = zero_of, .output_kind = zero_of,
    .input_memory = zero_of, .variadic = {first, first, first, first}, .create_kernel = create_kernel,
    .compute_kernel = lose_the_device, .version_from = first, .version_to = first,
};

void *RegisterCustomOps(void *options, const Base *base) {
    void *domain, *refused;
    ort = base->functions(VERSION);
    if ((refused = ort[CREATE_DOMAIN]("faults", &domain)) || (refused = ort[ADD_TO_DOMAIN](domain, &fail)))
        return refused;
    return ort[ADD_DOMAIN](options, domain);
}
