/** The linker script of all enclaves. Addresses are offsets from the enclave's base; the first `empty` pages stay empty. */
export const linkScript = (empty: number) => `ENTRY(nsgx_entry)
PHDRS
{
  text PT_LOAD FLAGS(5);
  rodata PT_LOAD FLAGS(4);
  data PT_LOAD FLAGS(6);
  tls PT_TLS FLAGS(4);
}
SECTIONS
{
  . = ${empty * 4096};
  .text : { PROVIDE_HIDDEN(__image_base = . - ${empty * 4096}); KEEP(*(.nsgx.entry)) *(.text .text.*) } :text
  . = ALIGN(0x1000);
  .nsgx.layout : { KEEP(*(.nsgx.layout)) } :rodata
  .rodata : { *(.rodata .rodata.*) } :rodata
  .rela.dyn : { PROVIDE_HIDDEN(__rela_start = .); *(.rela .rela.*) PROVIDE_HIDDEN(__rela_end = .); } :rodata
  .dynsym : { *(.dynsym) } :rodata
  .dynstr : { *(.dynstr) } :rodata
  .gnu.hash : { *(.gnu.hash) } :rodata
  .hash : { *(.hash) } :rodata
  .eh_frame : { *(.eh_frame .eh_frame.*) } :rodata
  . = ALIGN(0x1000);
  .tdata : { *(.tdata .tdata.*) } :data :tls
  .tbss : { *(.tbss .tbss.*) *(.tcommon) } :data :tls
  .data.rel.ro : { *(.data.rel.ro .data.rel.ro.*) } :data
  .dynamic : { *(.dynamic) } :data
  .got : { *(.got .got.plt .igot .igot.plt) } :data
  .data : { *(.data .data.*) } :data
  .bss : { *(.bss .bss.*) *(COMMON) } :data
  . = ALIGN(0x1000);
  .note.sgxmeta 0 : { KEEP(*(.note.sgxmeta)) }
  /DISCARD/ : { *(.comment .note .note.* .gnu.version .gnu.version_r .interp) }
}
`;
