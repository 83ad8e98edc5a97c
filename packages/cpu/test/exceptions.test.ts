import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
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
  /** Debug opt-in. */
  optIn?: boolean;
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
    name: '#DB by TF with opt-in',
    optIn: true,
    code: `lea ${rel(AT.DATA + 0x800)},%rsp\npushfq\norl $0x100,(%rsp)\npopfq\nnop\nhere: nop`,
    vector: 1,
    exitInfo: VALID | 1,
  },
  {
    name: 'TF without opt-in is dropped',
    code: `lea ${rel(AT.DATA + 0x800)},%rsp\npushfq\norl $0x100,(%rsp)\npopfq\nnop\nnop\npushfq\nandl $0x100,(%rsp)\njz here\nhlt\nhere: ud2`,
    vector: 6,
    exitInfo: VALID | 6,
  },
  { name: '#BP with opt-in', optIn: true, code: 'here: int3', vector: 3, exitInfo: 0x8000_0603 },
  { name: 'INT3 without opt-in is #UD', code: 'here: int3', vector: 6, exitInfo: VALID | 6 },
  { name: 'INT 3 of two bytes', code: 'here: .byte 0xcd,3', vector: 6, exitInfo: VALID | 6 },
  {
    name: 'INT 3 of two bytes with opt-in',
    optIn: true,
    code: 'here: .byte 0xcd,3',
    vector: 6,
    exitInfo: VALID | 6,
  },
  { name: 'INT 4', code: 'here: .byte 0xcd,4', vector: 6, exitInfo: VALID | 6 },
  { name: 'INT 1', code: 'here: .byte 0xcd,1', vector: 6, exitInfo: VALID | 6 },
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
  { name: 'OUT is illegal', code: 'here: out %al,$0x80', vector: 6, exitInfo: VALID | 6 },
  { name: 'INSB is illegal', code: `lea ${rel(AT.DATA)},%rdi\nhere: insb`, vector: 6, exitInfo: VALID | 6 },
  {
    name: 'a bad selector in MOV DS',
    code: 'mov $0x7f3,%eax\nhere: mov %eax,%ds',
    vector: 6,
    exitInfo: VALID | 6,
  },
  {
    name: 'a bad selector in MOV SS with REX',
    code: 'mov $0x7f3,%r8d\nhere: mov %r8d,%ss',
    vector: 6,
    exitInfo: VALID | 6,
  },
  {
    name: 'far JMP to a bad selector',
    code: `lea ${rel(AT.DATA)},%rax\nmovl $0x7f3,8(%rax)\nhere: rex.W ljmp *(%rax)`,
    vector: 6,
    exitInfo: VALID | 6,
  },
  {
    name: 'IRET to a bad selector',
    code: `lea ${rel(AT.DATA)},%rsp\nhere: iretq`,
    vector: 6,
    exitInfo: VALID | 6,
  },
  { name: 'CLI', code: 'here: cli', vector: 13, exitInfo: VALID | 13, exitInfoPlain: 0 },
  {
    name: 'a misaligned SSE operand',
    code: `lea ${rel(AT.DATA + 1)},%rax\nhere: movaps (%rax),%xmm0`,
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
  {
    name: 'reserved bits of MXCSR',
    code: `lea ${rel(AT.DATA)},%rax\nmovl $-1,(%rax)\nhere: ldmxcsr (%rax)`,
    vector: 13,
    exitInfo: VALID | 13,
    exitInfoPlain: 0,
  },
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
  {
    name: '#PF: execute, no page',
    code: `lea ${rel(0xe0123)},%rax\njmp *%rax\nhere:`,
    ...pf(0x14, 0xe0123),
    elsewhere: true,
  },
  {
    name: '#PF: read-modify-write of code',
    code: `lea ${rel(AT.CODE)},%rax\nhere: incl (%rax)`,
    ...pf(0x8007, AT.CODE),
  },
  {
    name: '#PF: across two pages',
    code: `lea ${rel(AT.DATA + 0x3ffc)},%rax\nhere: mov (%rax),%rcx`,
    ...pf(4, AT.DATA + 0x4000),
  },
  {
    name: '#PF: read-only page',
    code: `lea ${rel(0x8010)},%rax\nhere: movb $1,(%rax)`,
    ...pf(0x8007, 0x8010),
  },
  {
    name: '#PF: a page without rights',
    code: `lea ${rel(0x9010)},%rax\nhere: mov (%rax),%cl`,
    ...pf(0x8005, 0x9010),
  },
  { name: '#PF: write outside', code: 'mov $0x5000,%eax\nhere: mov %ecx,(%rax)', ...pf(6, 0x5000n) },
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

const page = (offset: number, pages: number, rights: string) => ({
  offset,
  length: pages * 4096,
  r: rights.includes('r'),
  w: rights.includes('w'),
  x: rights.includes('x'),
});
const RANGES = [
  page(AT.CODE, 1, 'rx'),
  page(0x8000, 1, 'r'),
  page(0x9000, 1, ''),
  page(AT.DATA, 4, 'rw'),
  page(AT.SSA, 2, 'rw'),
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
      const enclave = machine.start({
        code,
        miscselect,
        debug: c.optIn,
        optIn: c.optIn,
        ranges: RANGES,
      });
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

test('CPUID is #UD where the processor can make it fault, and executes elsewhere', () => {
  const faults = /\bcpuid_fault\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  const enclave = machine.start({ code: assemble(`xor %eax,%eax\nxor %ecx,%ecx\ncpuid\n${enclu(4)}`) });
  try {
    const exit = enclave.gate.exit(enclave.gate.enter(0, 0));
    assert.equal(exit.kind === 'AEX' ? exit.vector : exit.kind, faults ? 6 : 'EEXIT');
  } finally {
    enclave.close();
  }
});
