//! What follows from the end of a call: for whoever calls the provider next, and for who draws in its place. And what
//! packages may ask for at all.

pub mod allowed;
pub mod fallback;
pub mod resend;
