/* SPDX-License-Identifier: MIT */
/* MESSAGE_ID= of what hark writes into the journal (sd-id128(3)). Each has its text for operators
 * in hark.catalog, beside this file. An id is never changed, and never used for something else. */
#pragma once

#include <systemd/sd-id128.h>

/* clang-format off */
#define MESSAGE_HANDLER_FAILED      SD_ID128_MAKE(98,c8,87,82,8e,90,40,dc,8e,67,0f,7d,4b,20,4f,5d)
#define MESSAGE_HANDLER_ENDED       SD_ID128_MAKE(09,6c,0e,67,eb,2d,4f,e1,ae,ef,8f,d3,7e,c2,8b,db)
#define MESSAGE_HANDLER_STUCK       SD_ID128_MAKE(76,32,06,d9,d2,d2,45,b2,b3,47,d2,fc,de,59,99,c0)
#define MESSAGE_CONNECTIONS_REFUSED SD_ID128_MAKE(c1,88,8f,fb,c6,6b,4a,ca,a7,b1,0e,6a,32,24,a1,cb)
#define MESSAGE_UNIT_PAUSED         SD_ID128_MAKE(17,96,bf,8a,ce,40,40,31,8c,dd,5d,76,13,9f,89,28)
#define MESSAGE_UNIT_NOT_STARTED    SD_ID128_MAKE(99,9f,f6,81,6d,b0,44,c8,9a,22,d2,ef,fc,df,a7,f2)
#define MESSAGE_RESOURCES_SHORT     SD_ID128_MAKE(bd,a5,30,7f,9a,22,43,ec,87,03,0d,08,97,01,f8,79)
#define MESSAGE_LISTENER_BOUND_ANEW SD_ID128_MAKE(df,2e,da,28,74,bf,46,f0,89,53,0c,d6,ef,e9,4c,ca)
#define MESSAGE_LISTENER_LOST       SD_ID128_MAKE(c5,75,87,72,ce,37,4e,bb,96,75,65,9e,26,0b,a6,01)
#define MESSAGE_LISTENER_TAKEN_OVER SD_ID128_MAKE(5a,a7,fa,04,bb,5f,4e,b0,a7,81,26,d9,91,46,42,8e)
#define MESSAGE_FORK_SERVER_LOST    SD_ID128_MAKE(b2,60,74,4d,c7,8d,44,42,8f,34,73,ca,03,73,e7,5b)
#define MESSAGE_RELOADED            SD_ID128_MAKE(5b,cf,58,1c,8f,f6,4e,dd,9c,25,87,f4,b5,56,e7,62)
#define MESSAGE_RELOAD_REFUSED      SD_ID128_MAKE(79,cd,c8,4a,65,66,41,02,9b,cf,d0,f5,ef,2d,c7,65)
#define MESSAGE_UPGRADED            SD_ID128_MAKE(be,3b,de,8e,30,74,42,d4,bc,20,f3,5b,c5,4f,a7,8d)
#define MESSAGE_UPGRADE_REFUSED     SD_ID128_MAKE(b8,18,a7,7b,bf,59,49,0c,a7,20,2d,61,3d,6d,32,48)
/* clang-format on */
