export * from '@nestedsgx/sdk';
