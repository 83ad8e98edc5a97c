// Builds the trusted half of the library OS (packages/libos): AssemblyScript to WebAssembly to C to an enclave without a
// program. Nothing is done when its sources have not changed.
import { buildKernel } from '../packages/libos/dist/src/index.js';

await buildKernel();
