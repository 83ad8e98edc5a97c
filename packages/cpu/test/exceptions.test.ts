import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

const GPRSGX = 4096 - 184;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;
const VALID = 0x8000_0300;

interface Case {
  name: string;
  /** The faulting instruction is at the label `here`. */
  code: string;
  vector: number;
  errorCode?: number;
  /** Offset in the ELRANGE, or an absolute address. */
  address?: bigint | number;
  exitInfo: number;
  /** EXITINFO without MISCSELECT.EXINFO, where it differs. */
  exitInfoPlain?: number;
  /** RIP in the frame is not that of `here`. */
  elsewhere?: boolean;
}

const pf = (errorCode: number, address: bigint | number) => ({
  vector: 14,
  errorCode,
  address,
  exitInfo: VALID | 14,
  exitInfoPlain: 0,
});

const CASES: Case[] = [
  { name: '#DE', code: 'xor %ecx,%ecx\nhere: div %ecx', vector: 0, exitInfo: VALID },
  {
    name: '#DB',
    code:
      'lea 1f(%rip),%rcx\nlea ' +
      rel(AT.DATA + 0x800) +
      ',%rsp\npushfq\norl $0x100,(%rsp)\npopfq\nnop\nhere: nop\n1:',
    vector: 1,
    exitInfo: VALID | 1,
  },
  { name: '#BP', code: 'here: int3', vector: 3, exitInfo: 0x8000_0603 },
  { name: '#UD by UD2', code: 'here: ud2', vector: 6, exitInfo: VALID | 6 },
  { name: '#GP by HLT', code: 'here: hlt', vector: 13, exitInfo: VALID | 13, exitInfoPlain: 0 },
  { name: 'IN is illegal', code: 'here: in %dx,%al', vector: 6, exitInfo: VALID | 6 },
  { name: 'OUTS is illegal', code: 'here: rep outsb', vector: 6, exitInfo: VALID | 6 },
  { name: 'INT n is illegal', code: 'here: int $0x20', vector: 6, exitInfo: VALID | 6 },
  { name: 'INT 80 is illegal', code: 'mov $20,%eax\nhere: int $0x80', vector: 6, exitInfo: VALID | 6 },
  { name: 'SYSCALL is illegal', code: 'mov $39,%eax\nhere: syscall', vector: 6, exitInfo: VALID | 6 },
  {
    name: 'SYSCALL with an allowed number',
    code: 'mov $231,%eax\nhere: syscall',
    vector: 6,
    exitInfo: VALID | 6,
  },
  {
    name: 'SYSCALL with an x32 number',
    code: 'mov $0x400000e7,%eax\nhere: syscall',
    vector: 6,
    exitInfo: VALID | 6,
  },
  { name: 'SYSENTER is illegal', code: 'here: sysenter', vector: 6, exitInfo: VALID | 6 },
  { name: 'RDPMC is illegal', code: 'here: rdpmc', vector: 6, exitInfo: VALID | 6 },
  {
    name: 'not canonical',
    code: 'mov $1,%rax\nshl $63,%rax\nhere: mov (%rax),%ecx',
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
  { name: '#SS', code: 'mov $1,%rsp\nshl $63,%rsp\nhere: push %rax', vector: 12, exitInfo: 0 },
  {
    name: '#MF',
    code: `fninit\nlea ${rel(AT.DATA)},%rax\nmovw $0x37b,(%rax)\nfldcw (%rax)\nfldz\nfld1\nfdivp\nhere: fwait`,
    vector: 16,
    exitInfo: VALID | 16,
    elsewhere: true,
  },
  {
    name: '#XM',
    code: `lea ${rel(AT.DATA)},%rax\nmovl $0x1d80,(%rax)\nldmxcsr (%rax)\nxorps %xmm0,%xmm0\nmov $1,%ecx\ncvtsi2ss %ecx,%xmm1\nhere: divss %xmm0,%xmm1`,
    vector: 19,
    exitInfo: VALID | 19,
  },
  {
    name: '#AC',
    code: `lea ${rel(AT.DATA + 0x800)},%rsp\npushfq\norl $0x40000,(%rsp)\npopfq\nhere: mov 1(%rsp),%eax`,
    vector: 17,
    exitInfo: VALID | 17,
  },
  { name: '#PF: no page', code: `lea ${rel(0xe0123)},%rax\nhere: mov (%rax),%ecx`, ...pf(4, 0xe0123) },
  { name: '#PF: write, no page', code: `lea ${rel(0xe0123)},%rax\nhere: mov %ecx,(%rax)`, ...pf(6, 0xe0123) },
  {
    name: '#PF: write to code',
    code: `lea ${rel(AT.CODE)},%rax\nhere: mov %ecx,(%rax)`,
    ...pf(0x8007, AT.CODE),
  },
  {
    name: '#PF: execute data',
    code: `lea ${rel(AT.DATA)},%rax\njmp *%rax\nhere:`,
    ...pf(0x8015, AT.DATA),
    elsewhere: true,
  },
  { name: '#PF: outside', code: 'mov $0x5000,%eax\nhere: mov (%rax),%ecx', ...pf(4, 0x5000n) },
  {
    name: 'fetch outside the ELRANGE',
    code: 'xor %eax,%eax\njmp *%rax\nhere:',
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
    elsewhere: true,
  },
  {
    name: 'fetch from guest RAM',
    code: 'jmp *%rdi\nhere:',
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
    elsewhere: true,
  },
  {
    name: 'vsyscall',
    code: `lea ${rel(AT.DATA + 0x800)},%rsp\nmov $0xffffffffff600000,%rax\ncall *%rax\nhere:`,
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
    elsewhere: true,
  },
  {
    name: 'ENCLU with an unknown leaf',
    code: 'mov $0x77777,%eax\nnop\nhere: .byte 0x0f,0x01,0xd7',
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
  {
    name: 'EENTER inside',
    code: `nop\nmov $2,%eax\nhere: .byte 0x0f,0x01,0xd7`,
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
  {
    name: 'EEXIT to a non-canonical address',
    code: `mov $1,%rbx\nshl $63,%rbx\nmov $4,%eax\nhere: .byte 0x0f,0x01,0xd7`,
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
];

let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

/** The offset of `here` travels in front of the code. */
function assembleCase(code: string): { code: Uint8Array; here: number } {
  const bytes = assemble(`jmp 9f\n.quad here-_start\n9:\n${code}\n${enclu(4)}`);
  const start = bytes[0] === 0xeb ? 2 : 5;
  return { code: bytes, here: new DataView(bytes.buffer, bytes.byteOffset).getUint32(start, true) };
}

for (const miscselect of [0, 1])
  for (const c of CASES)
    test(`${c.name} with MISCSELECT ${miscselect}`, () => {
      const { code, here } = assembleCase(c.code);
      const enclave = machine.start({ code, miscselect });
      try {
        const exit = enclave.gate.exit(enclave.gate.enter(machine.base + 0x200000, 0));
        const address = typeof c.address === 'number' ? BigInt(enclave.base + c.address) : (c.address ?? 0n);
        assert.deepEqual(
          { ...exit, lost: enclave.running.lost },
          {
            kind: 'AEX',
            vector: c.vector,
            errorCode: c.errorCode ?? 0,
            address: address & ~0xfffn,
            lost: null,
          },
        );
        const ssa = enclave.ssa();
        const expected = miscselect ? c.exitInfo : (c.exitInfoPlain ?? c.exitInfo);
        assert.equal(ssa.getUint32(GPRSGX + 160, true), expected >>> 0, 'EXITINFO');
        if (!c.elsewhere)
          assert.equal(ssa.getBigUint64(GPRSGX + 136, true), BigInt(enclave.base + AT.CODE + here), 'RIP');
        if (miscselect && (c.vector === 14 || c.vector === 13)) {
          assert.equal(ssa.getBigUint64(GPRSGX - 16, true), address, 'EXINFO.MADDR');
          assert.equal(ssa.getUint32(GPRSGX - 8, true), c.errorCode ?? 0, 'EXINFO.ERRCD');
        }
      } finally {
        enclave.close();
      }
    });
