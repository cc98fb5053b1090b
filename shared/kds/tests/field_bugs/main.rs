//! What goes wrong in the field with Kuma: one test for each problem, named by what happens here instead. The numbers are
//! those of Kuma's issues and changes.

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod flow;
mod global;
mod isolation;
mod life;
mod questions;
mod slow;
