/** A host process for tests of death: launches a machine, prints the pids of machine and runners, and works. */
import { childrenOf, launch, load, sleep } from './observe.js';

const what = process.argv[2];
const cvm = await launch();
const e = await load(cvm, 'calc', {
  ocalls: {
    host_name: () => (what === 'ocall' ? sleep(20).then(() => 'late') : 'name'),
  },
});
console.log(JSON.stringify([cvm.pid, ...childrenOf(cvm.pid as number)]));
switch (what) {
  case 'idle':
    setInterval(() => undefined, 1000);
    break;
  case 'sync':
    e.ecalls.spin(2n ** 50n);
    break;
  case 'async':
    await Promise.all([e.async.spin(2n ** 50n), e.async.spin(2n ** 50n)]);
    break;
  case 'ocall':
    for (;;) await e.async.greet();
  case 'load':
    for (;;) await (await load(cvm)).close();
  case 'quote':
    for (;;) e.attest();
  case 'count':
    for (;;) {
      console.log(e.ecalls.add(1, 1));
      await sleep(5);
    }
}
