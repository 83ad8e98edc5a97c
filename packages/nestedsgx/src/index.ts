/** The umbrella import: the host API, and what programs that build or load enclaves need beside it. */
export { NsgxError } from '@nestedsgx/arch';
export {
  buildEdlEnclave,
  buildEnclave,
  EDL_SAMPLES,
  newProject,
  SAMPLES,
  sampleDirectory,
  sampleImage,
} from '@nestedsgx/enclave';
export { generateKey, imageFilePaths, loadImageFiles, signImage } from '@nestedsgx/image/node';
export * from '@nestedsgx/sdk';
