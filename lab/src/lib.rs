//! A software hypervisor for machines without Xen.
#![forbid(unsafe_code)]
