/* Error numbers: functions return 0 or a negative one of these. Values as on Linux, so that host tests agree.
 */
#pragma once

#define EPERM      1   /* Operation not permitted */
#define ENOENT     2   /* No such file or directory */
#define EIO        5   /* I/O error */
#define E2BIG      7   /* Argument list too long */
#define ENOEXEC    8   /* Exec format error */
#define EAGAIN     11  /* Try again */
#define ENOMEM     12  /* Out of memory */
#define EFAULT     14  /* Bad address */
#define EBUSY      16  /* Device or resource busy */
#define EEXIST     17  /* File exists */
#define ENODEV     19  /* No such device */
#define EINVAL     22  /* Invalid argument */
#define ENOSPC     28  /* No space left on device */
#define EROFS      30  /* Read-only file system */
#define ERANGE     34  /* Math result not representable */
#define ENOSYS     38  /* Invalid system call number */
#define EOVERFLOW  75  /* Value too large for defined data type */
#define ENOTSUP    95  /* Operation not supported on transport endpoint */
#define EOPNOTSUPP 95  /* The same */
#define ETIMEDOUT  110 /* Connection timed out */
