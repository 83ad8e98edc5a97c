// A reporter for node:test beside `spec`, which says of a file whose process failed only that it did: this one tells how
// the process ended (exit code or signal), so that a crash after the last test can be told from a failed test.
export default async function* ended(events) {
  for await (const { type, data } of events) {
    const error = data?.details?.error;
    if (type !== 'test:fail' || error === undefined) continue;
    const { exitCode, signal } = error;
    if (exitCode == null && signal == null) continue;
    yield `nestedsgx: ${data.name} ended with ${signal == null ? `exit code ${exitCode}` : `signal ${signal}`}\n`;
  }
}
