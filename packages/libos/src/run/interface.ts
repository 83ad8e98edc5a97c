/** What the enclave of a program asks of its host, and the host of it. */

/** The calls between the two halves. The build of the trusted one makes its interface.json of this; new OCALLs come last. */
export const LIBOS_INTERFACE = Object.freeze({
  ecalls: [
    {
      name: 'run',
      params: [
        { name: 'argv', type: 'bytes' },
        { name: 'envp', type: 'bytes' },
        { name: 'host', type: 'bytes' },
      ],
      returns: 'i32',
    },
    { name: 'thread', params: [{ name: 'slot', type: 'u32' }], returns: 'i32' },
    {
      name: 'attend',
      params: [
        { name: 'signal', type: 'u32' },
        { name: 'value', type: 'u32' },
      ],
      returns: 'i64',
    },
  ],
  ocalls: [
    {
      name: 'host_write',
      params: [
        { name: 'fd', type: 'u32' },
        { name: 'data', type: 'bytes' },
      ],
      returns: 'i64',
    },
    {
      name: 'host_read',
      params: [
        { name: 'fd', type: 'u32' },
        { name: 'length', type: 'u32' },
      ],
      returns: 'bytes',
    },
    {
      name: 'root_read',
      params: [
        { name: 'offset', type: 'u64' },
        { name: 'length', type: 'u32' },
      ],
      returns: 'bytes',
    },
    { name: 'host_clock', params: [], returns: 'bytes' },
    {
      name: 'host_wait',
      params: [
        { name: 'fds', type: 'u32' },
        { name: 'timeout_ms', type: 'i64' },
      ],
      returns: 'u32',
    },
    { name: 'note', params: [{ name: 'text', type: 'bytes' }], returns: 'void' },
    {
      name: 'park',
      params: [
        { name: 'slot', type: 'u32' },
        { name: 'timeout_ns', type: 'i64' },
      ],
      returns: 'void',
    },
    { name: 'unpark', params: [{ name: 'slot', type: 'u32' }], returns: 'void' },
    { name: 'start_thread', params: [{ name: 'slot', type: 'u32' }], returns: 'i32' },
    { name: 'exit', params: [{ name: 'status', type: 'u32' }], returns: 'void' },
    { name: 'io_facts', params: [], returns: 'bytes' },
    { name: 'host_io', params: [{ name: 'slot', type: 'u32' }], returns: 'void' },
    {
      name: 'host_net',
      params: [
        { name: 'operation', type: 'u32' },
        { name: 'fd', type: 'u32' },
        { name: 'a', type: 'i64' },
        { name: 'b', type: 'i64' },
        { name: 'data', type: 'bytes' },
      ],
      returns: 'bytes',
    },
    { name: 'interrupt', params: [], returns: 'void' },
    { name: 'alarm', params: [{ name: 'microseconds', type: 'u32' }], returns: 'void' },
    { name: 'store_open', params: [], returns: 'bytes' },
    {
      name: 'store_sync',
      params: [
        { name: 'version', type: 'u64' },
        { name: 'mac', type: 'bytes' },
      ],
      returns: 'i64',
    },
    {
      name: 'host_pages',
      params: [
        { name: 'operation', type: 'u32' },
        { name: 'offset', type: 'u64' },
        { name: 'length', type: 'u64' },
      ],
      returns: 'i64',
    },
    {
      name: 'host_files',
      params: [
        { name: 'operation', type: 'u32' },
        { name: 'fd', type: 'i64' },
        { name: 'a', type: 'i64' },
        { name: 'b', type: 'i64' },
        { name: 'data', type: 'bytes' },
      ],
      returns: 'bytes',
    },
    { name: 'host_attest', params: [{ name: 'report', type: 'bytes' }], returns: 'bytes' },
    { name: 'stopped', params: [], returns: 'void' },
    { name: 'host_provision', params: [{ name: 'message', type: 'bytes' }], returns: 'bytes' },
  ],
} as const);
