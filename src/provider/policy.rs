//! What follows from the end of a call: for whoever calls the provider next, and for who draws in its place.

pub mod fallback;
pub mod resend;
