//! Joins the crates into a running proxy: build, spawn, drain.
