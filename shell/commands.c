/*
 * The shell's commands: one table, at the end. A new one is a line there and a function that is declared in
 * commands.h; help, completion, --json and the count of its arguments follow from the line.
 */
#include "shell/commands.h"
#include "arch/x86_64/power.h"
#include "guests/manager.h"
#include "kernel/recorder.h"
#include "lib/errno.h"
#include "shell/wire.h"

/* The commands that do one thing to one running VM. */
static void act(int count, char *word[SHELL_ARGS], int (*action)(struct managed *))
{
    struct managed *vm = command_vm(count, word);

    if (vm && action(vm) == -EINVAL)
        wire_print("%s: %s is %s\r\n", word[0], vm->config->name, manager_state_name(vm));
}

static void run_start(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);

    if (vm)
        (void)!manager_start(vm); /* whatever is wrong is in the log, which is on the wire too */
}

static void run_shutdown(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_shutdown);
}

static void run_destroy(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_destroy);
}

static void run_reset(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_reset);
}

static void run_pause(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_pause);
}

static void run_resume(int count, char *word[SHELL_ARGS])
{
    act(count, word, manager_resume);
}

static void run_console(int count, char *word[SHELL_ARGS])
{
    struct managed *vm = command_vm(count, word);

    if (vm && vm->config->console[0])
        wire_print("the console of %s is not on this line but on %s\r\n", vm->config->name,
                   vm->config->console);
    else if (vm)
        wire_attach(vm);
}

static void run_version(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_print(shell_json() ? "{\"version\":\"" PLINTH_VERSION "\"}\r\n" : "Plinth " PLINTH_VERSION "\r\n");
}

static void run_reboot(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_flush();
    recorder_end("a reboot by the shell");
    machine_reboot();
}

static void run_poweroff(int count, char *word[SHELL_ARGS])
{
    (void)count;
    (void)word;
    wire_flush();
    recorder_end("power-off by the shell");
    machine_poweroff();
}

const struct shell_command shell_commands[] = {
    { "help", "[COMMAND]", 1,
      "this list, or more about a command\n"
      "The list has a line for each command.\n"
      "Of one command it tells the usage and the other names.",
      run_help },
    { "list", "[--json]", 0,
      "the VMs and their states\n"
      "Each VM with its state, vCPUs and memory, and why it stopped.\n"
      "A broken one has errors in its config, which the log names.",
      run_list },
    { "start", "VM", 1,
      "start it\n"
      "Its memory is wiped, its devices are reset, its images are loaded anew.\n"
      "What keeps it from starting is in the log.",
      run_start },
    { "shutdown", "VM", 1,
      "press its power button\n"
      "What follows is the guest's choice: most shut down in order.\n"
      "One that does not listen can be destroyed.",
      run_shutdown },
    { "destroy", "VM", 1,
      "stop it at once\n"
      "As if the plug were pulled: the guest is not asked.\n"
      "Its memory is kept for the next start.",
      run_destroy },
    { "reset", "VM", 1,
      "start it anew at once\n"
      "As if its reset button were pressed: the guest is not asked.\n"
      "It starts from wiped memory.",
      run_reset },
    { "pause", "VM", 1,
      "stop its vCPUs\n"
      "They stand still until 'resume'; memory and devices are kept.\n"
      "The guest's clock goes on meanwhile.",
      run_pause },
    { "resume", "VM", 1,
      "let a paused one go on\n"
      "Where 'pause' stopped it.\n"
      "Interrupts that came meanwhile are delivered now.",
      run_resume },
    { "console", "VM", 1,
      "show its console\n"
      "What you type goes to the guest then, but for Ctrl-A and Ctrl-].\n"
      "Ctrl-A d comes back, and so does the VM's end.",
      run_console },
    { "log", "VM", 1,
      "what its console showed\n"
      "All that is kept of its output, without colours, and without going there.\n"
      "Ctrl-C ends it.",
      run_log },
    { "info", "VM [--json]", 1,
      "all about one VM\n"
      "Its config and state, the exits so far, and what each vCPU does.\n"
      "RIP is that of the last exit.",
      run_info },
    { "stats", "[VM] [--json]", 1,
      "exits by kind\n"
      "How often the VM, or each VM, left the guest for Plinth, and why.\n"
      "Counted since the VM was started first; a destroyed one keeps its counts.",
      run_stats },
    { "dump", "VM", 1,
      "what can be seen of it from outside\n"
      "Registers, code and stack, last events, console, and the log of a Linux kernel.\n"
      "One that runs goes on running. Ctrl-C ends it.",
      run_dump },
    { "trace", "[VM] [N] [--last]", 3,
      "the last events of the flight recorder\n"
      "N of them (1 to 1000, else 40), of all VMs and the log, or of one VM.\n"
      "--last tells of the run before the last reset of this machine.",
      run_trace },
    { "set", "VM KEY VALUE", 3,
      "change its hold on the CPUs\n"
      "KEY and VALUE as in the config: weight 1-1000, cap PERCENT, pin 0,2-3, reserve 2ms/10ms.\n"
      "pin all, cap none and reserve none take it back. It holds until Plinth is restarted.",
      run_set },
    { "balloon", "VM SIZE", 2,
      "have it give memory back, or take it again\n"
      "SIZE, such as 256M, is what it is to keep; its balloon gets the rest, as far as its driver finds pages.\n"
      "'info VM' tells what was returned. The config's `balloon` gives a VM its balloon.",
      run_balloon },
    { "top", "[--json]", 0,
      "what the VMs do, each second anew\n"
      "Percent of one CPU that each VM ran and that it waited for (steal), and its exits in a second.\n"
      "Any key ends it. With --json it measures once.",
      run_top },
    { "sched", "[--json]", 0,
      "each vCPU's hold on the CPUs\n"
      "Where it runs or ran, what it may have, and what part of a CPU it got in half a second.\n"
      "WAITED: ready, but others ran or its cap was used up. MISSED: what its reserve lacked.",
      run_sched },
    { "cpus", "[--json]", 0,
      "this machine's CPUs\n"
      "What each one runs, and how much of half a second it was idle.\n"
      "The numbers are those of `pin`.",
      run_cpus },
    { "dmesg", "", 0,
      "Plinth's log\n"
      "Its newest 64 KiB, with lines that are too detailed for the wire.\n"
      "Ctrl-C ends it.",
      run_dmesg },
    { "mem", "[--json]", 0,
      "who owns the machine's memory\n"
      "Each owner and each VM, in KiB; in JSON, in bytes.\n"
      "A stopped VM keeps its memory.",
      run_mem },
    { "pci", "[--json]", 0,
      "the machine's PCI devices\n"
      "Each function's address, vendor and device, class, and the class in words.\n"
      "It asks all 256 buses of segment 0, which takes half a second.",
      run_pci },
    { "disks", "[DISK] [--json]", 1,
      "the machine's disks\n"
      "Each disk, partition and file that is a disk; SOURCE is what the config calls it, USERS who has it.\n"
      "Of one DISK, how many requests took how long: microseconds, in powers of two.",
      run_disks },
    { "irq", "[--json]", 0,
      "the machine's interrupts\n"
      "Each vector that is in use, how often it came, and where it comes from.\n"
      "Those of guests are not among them.",
      run_irq },
    { "networks", "[--json]", 0,
      "the networks and who is in them\n"
      "Each port with its address, VLANs, and the frames that it sent, received and lost, and why.\n"
      "A port is NAME/N, a VM's N-th card from 0, or the machine's card that is the uplink.",
      run_networks },
    { "capture", "NETWORK|PORT [COUNT]", 2,
      "show what passes in a network, as a pcap file\n"
      "COUNT frames, or until a key is typed, in base64; tools/pcap makes a file of the log of this line.\n"
      "Frames are cut to 1518 bytes. What this line is too slow for is lost, and counted.",
      run_capture },
    { "config", "", 0,
      "the config that was read\n"
      "plinth.toml as it is on the boot medium.\n"
      "'doctor' tells what is wrong with it.",
      run_config },
    { "doctor", "[--json]", 0,
      "what is wrong, and what to do\n"
      "Looks at the machine, the config and the VMs, and recounts who owns the memory.\n"
      "The recount stops all guests for some milliseconds in each 10 GiB.",
      run_doctor },
    { "version", "[--json]", 0,
      "Plinth's version\n"
      "As in the first line of the log.\n"
      "CHANGELOG.md tells what is new in it.",
      run_version },
    { "reboot", "", 0,
      "restart this machine at once\n"
      "The whole machine, not a VM: the guests are not asked.\n"
      "'reset VM' starts one VM anew.",
      run_reboot },
    { "poweroff", "", 0,
      "switch this machine off at once\n"
      "The whole machine, not a VM: the guests are not asked.\n"
      "'shutdown VM' asks one VM.",
      run_poweroff },
    { NULL, NULL, 0, NULL, NULL },
};
