/* What a program that finds the library by CMake can do: run a fiber. */
#include <polyphony.h>
#include <stdio.h>

static int64_t version(void *argument)
{
    (void)argument;
    return (int64_t)poly_abi_version();
}

int main(void)
{
    poly_runtime *runtime;
    int64_t result = 0;
    if (poly_runtime_new(NULL, &runtime) < 0 || poly_runtime_run(runtime, version, NULL, &result) < 0) {
        return 1;
    }
    printf("%d\n", (int)result);
    return poly_runtime_free(runtime);
}
