/** A second host of a long-lived machine: loads an enclave, prints where it lies, and calls it when told to. */
import { Cvm } from '../../src/index.js';
import { load } from './observe.js';

const cvm = await Cvm.connect(process.argv[2]);
const { connection } = await cvm.guest();
const epc = connection.epc.first;
const e = await load(cvm);
console.log(JSON.stringify({ epc }));
process.stdin.on('data', () => console.log(e.ecalls.add(2, 3)));
