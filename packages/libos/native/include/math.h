/* wasm2c includes it; nothing of it is used. */
