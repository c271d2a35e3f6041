//! Holds no code: its manifest unifies the features of shared dependencies.
