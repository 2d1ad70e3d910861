# find_package(polyphony 2) gives two targets to link: polyphony::polyphony, the shared library, and
# polyphony::static, the archive with what it needs of the system.

get_filename_component(_polyphony_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET polyphony::polyphony)
  add_library(polyphony::polyphony SHARED IMPORTED)
  set_target_properties(polyphony::polyphony PROPERTIES
    IMPORTED_LOCATION "${_polyphony_prefix}/lib/libpolyphony.so"
    IMPORTED_SONAME "libpolyphony.so.2"
    INTERFACE_INCLUDE_DIRECTORIES "${_polyphony_prefix}/include")

  add_library(polyphony::static STATIC IMPORTED)
  set_target_properties(polyphony::static PROPERTIES
    IMPORTED_LOCATION "${_polyphony_prefix}/lib/libpolyphony.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_polyphony_prefix}/include"
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;pthread;m;dl;c")
endif()

unset(_polyphony_prefix)
