/* The race engine's declarations; engine.cdef holds them in the part of C that cffi reads too. */
#ifndef VFIO_HW_RACE_ENGINE_H
#define VFIO_HW_RACE_ENGINE_H

#include <stdint.h>

#include "engine.cdef"

#endif
