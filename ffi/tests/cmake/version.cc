// The same in C++.
#include "version.c"
