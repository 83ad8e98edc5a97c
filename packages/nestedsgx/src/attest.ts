export * from '@nestedsgx/attest';
