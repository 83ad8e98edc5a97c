/** A confidential VM as its host sees it. */
import { NsgxError } from '@nestedsgx/arch';
import { type EdlInterface, type InterfaceDescription, parseInterface } from '@nestedsgx/edl';
import {
  type AttachOptions,
  attachKernelGuest,
  ControlSocket,
  type DeviceOptions,
  GuestConnection,
  type KernelGuestShare,
  SgxDevice,
} from '@nestedsgx/guest';
import { IntelImage } from '@nestedsgx/image';
import { close, connectUnix } from '@nestedsgx/os';
import { type BuiltEnclave, buildEnclave } from './build-enclave.js';
import type { CvmInfo, CvmProcess } from './cvm-info.js';
import { Enclave, type LoadOptions } from './enclave.js';
import { type ImageInput, type LoadableImage, openImage } from './enclave-image.js';
import { sdkError } from './errors.js';
import type { LaunchOptions } from './launch/options.js';
import { defaultSocketPath } from './launch/state-dir.js';
import type { CommonLoadOptions, LoadedEnclave } from './loaded-enclave.js';
import { refuseUnrunnable } from './urts/check-build.js';
import { IntelEnclave, type IntelLoadOptions, isEdlInterface } from './urts/intel-enclave.js';
import { openEdl } from './urts/open-edl.js';

/**
 * This host's share of the machine: sizes in bytes (0 leaves them to the cvm; `epcBytes` limits the EPC of all its
 * enclaves), and what its SGX driver does when the EPC is full (`reclaim`) and where an enclave has no page (`edmm`).
 */
export type ConnectOptions = AttachOptions & Pick<DeviceOptions, 'reclaim' | 'edmm'>;

/** Calls by name with any arguments: the interface is known only at run time. */
export type AnyInterface = {
  // biome-ignore lint/suspicious/noExplicitAny: the types of a description that is read at run time
  readonly ecalls: readonly any[];
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly ocalls: readonly any[];
};

/** An enclave of either runtime. */
export type AnyEnclave = Pick<
  LoadedEnclave<never>,
  'mrenclave' | 'debug' | 'range' | 'running' | 'stats' | 'status' | 'interruptEvery' | 'close'
>;

/** A machine of one's own. */
interface Child {
  readonly pid: number;
  /** Ends it and gives back what is kept for it. */
  end(): Promise<void>;
}

const MAX_THREADS = 255;
/** Pages that EAUG adds at once at most. */
const MAX_GROW = 1024;
/** Time for a machine that was told to stop, in milliseconds, before it is killed. */
const STOP_GRACE_MS = 2000;

/**
 * A confidential VM. `await using cvm = await Cvm.launch()` starts a private one that ends with this object (and with
 * this process, however that ends); `Cvm.connect` uses one that runs already.
 */
export class Cvm implements AsyncDisposable {
  /** Process of a machine launched by this object. */
  readonly pid: number | undefined;
  readonly #control: ControlSocket;
  readonly #child: Child | null;
  readonly #attachOptions: ConnectOptions;
  readonly #enclaves = new Set<AnyEnclave>();
  #connection: Promise<GuestConnection> | null = null;
  #device: SgxDevice | null = null;
  #attached: GuestConnection | null = null;
  #closed: Promise<void> | null = null;

  private constructor(control: ControlSocket, child: Child | null, attachOptions: ConnectOptions) {
    this.#control = control;
    this.#child = child;
    this.pid = child?.pid;
    this.#attachOptions = attachOptions;
  }

  /**
   * Starts a private confidential VM.
   * @throws PLATFORM_UNSUPPORTED, INSTALLATION_INCOMPLETE, LAUNCH_OPTION_INVALID, CVM_LAUNCH_FAILED
   */
  static async launch(options: LaunchOptions = {}, attach: ConnectOptions = {}): Promise<Cvm> {
    // Loaded when it is needed: who connects to a machine that runs should not wait for it.
    const { endProcess, launchCvm } = await import('./launch/launcher.js');
    const { releaseRamSlot } = await import('./launch/ram-slot.js');
    const { control, pid, pidfd, ramSlot } = await launchCvm({ ...options, lifetime: 'host' });
    const end = async () => {
      await endProcess(pid, pidfd, STOP_GRACE_MS);
      releaseRamSlot(ramSlot);
    };
    return new Cvm(control, { pid, end }, attach);
  }

  /**
   * Connects to a confidential VM that serves a Unix socket (by default the one of `nsgx cvm start`).
   * @throws CVM_LOST when nobody listens there
   */
  static async connect(socketPath = defaultSocketPath(), options: ConnectOptions = {}): Promise<Cvm> {
    let fd: number;
    try {
      fd = connectUnix(socketPath);
    } catch (cause) {
      throw new NsgxError('CVM_LOST', `no confidential VM answers at ${socketPath}`, {
        advice: 'start one: nsgx cvm start',
        cause,
      });
    }
    return new Cvm(new ControlSocket(fd), null, options);
  }

  /**
   * Loads an enclave: a path (NAME or NAME.sgxs with NAME.sig and NAME.json beside it, or NAME.signed.so of Intel's SDK),
   * an image, or its parts. The interface comes from the argument, else from the image's description; for a `.signed.so`
   * it is what `nsgx edl --ts` made, or the EDL file that the option `edl` names.
   * @throws IMAGE_FILES_MISSING, IMAGE_UNSIGNED, IMAGE_UNSUPPORTED, IMAGE_SIMULATION, IMAGE_NO_ENCLU,
   *   ENCLAVE_NOT_DEBUGGABLE, HOST_DESCRIPTORS_REFUSED, INTERFACE_INVALID, EDL_FILE, EdlError, ENCLAVE_INIT_FAILED,
   *   LAUNCH_OPTION_INVALID (growPages), SgxIoctlError, the image's errors, CVM_LOST
   */
  load<Ecalls, Ocalls>(
    image: string | IntelImage,
    edl: EdlInterface<Ecalls, Ocalls>,
    options?: IntelLoadOptions<Ocalls>,
  ): Promise<IntelEnclave<Ecalls, Ocalls>>;
  load(image: `${string}.signed.so` | IntelImage, options?: IntelLoadOptions): Promise<IntelEnclave>;
  load<const I extends InterfaceDescription>(
    image: ImageInput,
    description: I,
    options?: LoadOptions<I>,
  ): Promise<Enclave<I>>;
  load(image: ImageInput, options?: LoadOptions<AnyInterface>): Promise<Enclave<AnyInterface>>;
  async load(
    image: ImageInput,
    interfaceOrOptions?: unknown,
    maybeOptions?: unknown,
  ): Promise<Enclave<AnyInterface> | IntelEnclave> {
    const given =
      isDescription(interfaceOrOptions) || isEdlInterface(interfaceOrOptions)
        ? interfaceOrOptions
        : undefined;
    const options = ((given === undefined ? interfaceOrOptions : maybeOptions) ?? {}) as CommonLoadOptions;
    const { growPages = 1 } = options;
    if (!Number.isSafeInteger(growPages) || growPages < 1)
      throw sdkError(
        'LAUNCH_OPTION_INVALID',
        `growPages is ${growPages}, not a positive whole number of pages`,
        'Give a count of pages of 4096 bytes, or leave it out.',
      );
    const loadable = openImage(image, this.#attachOptions.edmm ?? true);
    // What can be wrong with the interface is found before anything is built.
    if (loadable.image instanceof IntelImage)
      refuseUnrunnable(loadable.image, (options as IntelLoadOptions).sealedKey !== undefined);
    const describe =
      loadable.image instanceof IntelImage ? intelInterface(given, options) : ownInterface(given, loadable);
    const device = await this.#sgxDevice();
    const built = buildEnclave(device, loadable, {
      debug: options.debug ?? false,
      provision: options.provision ?? false,
      maxThreads: MAX_THREADS,
      gates: options.threads ?? 0,
      descriptors: options.hostDescriptors ?? false,
      address: options.address,
    });
    built.file.faults.least = Math.min(growPages, MAX_GROW);
    if (options.hostDescriptors === true) await takeGrants(device, built);
    const enclave = describe(device.connection, built, loadable, options, () => {
      // Threads that did not come back may still look at guest RAM, which then stays.
      if (enclave.running === 0) this.#enclaves.delete(enclave);
    });
    this.#enclaves.add(enclave);
    try {
      enclave.initialise();
    } catch (error) {
      await enclave.close();
      throw error;
    }
    return enclave;
  }

  /** Launch digest, fingerprint of the software root, isolation and components. @throws CVM_LOST, CVM_REPLY_INVALID */
  async info(): Promise<CvmInfo> {
    const { parseInfo } = await import('./cvm-info.js');
    const { body } = await this.#request('info');
    return parseInfo(body.info);
  }

  /** The enclaves of the machine, of all its hosts. @throws CVM_LOST, CVM_REPLY_INVALID */
  async ps(): Promise<CvmProcess[]> {
    const { parseProcesses } = await import('./cvm-info.js');
    const { body } = await this.#request('ps');
    return parseProcesses(body.enclaves);
  }

  /** Tells the machine to end, with all enclaves of all hosts; then closes this object. @throws GUEST_REFUSED */
  async stop(): Promise<void> {
    await this.#request('stop');
    await this.close();
  }

  /** The attached guest: RAM, vCPU and device, for those who go below enclaves. Attaches on first use. */
  async guest(): Promise<{ connection: GuestConnection; device: SgxDevice }> {
    const device = await this.#sgxDevice();
    return { connection: device.connection, device };
  }

  /**
   * Attaches a guest with a kernel of its own, as package vm starts one; `window` was given at launch. The descriptors are
   * the caller's.
   * @throws CVM_CLOSED, GUEST_REFUSED, GUEST_PROTOCOL, GUEST_TIMEOUT, CVM_LOST
   */
  async attachKernelGuest(vcpus: number): Promise<KernelGuestShare> {
    if (this.#closed !== null) throw closedError();
    return attachKernelGuest(this.#control, vcpus);
  }

  /** The enclaves loaded through this object. */
  get enclaves(): ReadonlySet<AnyEnclave> {
    return this.#enclaves;
  }

  /** Closes all enclaves, gives this host's share back and ends a private machine. Harmless when repeated. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const connection = this.#connection;
    const enclaves = [...this.#enclaves];
    await Promise.allSettled(enclaves.map((enclave) => enclave.close()));
    if (connection !== null) await connection.catch(() => undefined);
    this.#device?.close();
    this.#attached?.close({ keepMapping: enclaves.some((enclave) => enclave.running > 0) });
    this.#control.close();
    await this.#child?.end();
  }

  async #sgxDevice(): Promise<SgxDevice> {
    if (this.#closed !== null) throw closedError();
    this.#connection ??= GuestConnection.attach(this.#control, this.#attachOptions).then((connection) => {
      this.#attached = connection;
      this.#device = new SgxDevice(connection, {
        reclaim: this.#attachOptions.reclaim,
        edmm: this.#attachOptions.edmm,
      });
      return connection;
    });
    try {
      await this.#connection;
    } catch (error) {
      this.#connection = null;
      throw error;
    }
    return this.#device as SgxDevice;
  }

  async #request(op: string) {
    if (this.#closed !== null) throw closedError();
    const message = await this.#control.request({ op });
    for (const fd of message.fds) close(fd);
    return message;
  }
}

/** On failure the enclave is given back. */
async function takeGrants(device: SgxDevice, built: BuiltEnclave): Promise<void> {
  try {
    built.grants = await built.file.takeGrants();
  } catch (error) {
    built.file.close();
    if (built.file.gone) device.connection.memory.free(built.gates);
    throw error;
  }
}

function closedError(): Error {
  return sdkError('CVM_CLOSED', 'this Cvm has been closed', 'launch or connect again');
}

type Maker = (
  connection: GuestConnection,
  built: BuiltEnclave,
  loadable: LoadableImage,
  options: CommonLoadOptions,
  onClose: () => void,
) => Enclave<AnyInterface> | IntelEnclave;

/** For this project's own runtime. @throws INTERFACE_INVALID */
function ownInterface(given: unknown, loadable: LoadableImage): Maker {
  const source = given ?? loadable.description;
  const description = source === undefined ? undefined : parseInterface(source);
  return (connection, built, _, options, onClose) =>
    new Enclave<AnyInterface>(connection, built, description, options, onClose);
}

/** For Intel's. @throws EDL_FILE, EdlError, INTERFACE_INVALID */
function intelInterface(given: unknown, options: IntelLoadOptions): Maker {
  const { edl, edlSearchPath, edlConstants } = options;
  if (given !== undefined && !isEdlInterface(given))
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      "an enclave of Intel's SDK has the interface of its EDL file",
      'pass what `nsgx edl FILE --ts OUT` makes, or the option edl',
    );
  const description =
    given?.description ??
    (typeof edl === 'string' ? openEdl(edl, edlSearchPath, undefined, edlConstants) : edl);
  return (connection, built, { image }, all, onClose) =>
    new IntelEnclave(connection, built, image as IntelImage, description, all as IntelLoadOptions, onClose);
}

function isDescription(value: unknown): value is InterfaceDescription {
  return typeof value === 'object' && value !== null && Array.isArray((value as { ecalls?: unknown }).ecalls);
}
