/* The compiled kernels, embedded. */
    .section .rodata
    .globl vin_cuda_image
    .hidden vin_cuda_image
    .balign 64
vin_cuda_image:
    .incbin VIN_IMAGE
    .section .note.GNU-stack, "", @progbits
