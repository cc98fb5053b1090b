//! Inspection: which policies concern which proxies, and what they amount to.
