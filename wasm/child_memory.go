package wasm

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// peakMemory is the most memory that a process had since its program began, in
// bytes (VmHWM of proc_pid_status(5)); 0 when it has ended.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// peakOf is the same of a child that has ended. seen is what peakMemory said
// while it lived; without that it is what its usage tells, which begins with
// the high-water mark of this process (getrusage(2)): no more than that says
// nothing of the child, and gives 0.
func peakOf(state *os.ProcessState, seen int64) int64 {
	if seen > 0 {
		return seen
	}
	usage, ok := state.SysUsage().(*syscall.Rusage)
	var own unix.Rusage
	if !ok || unix.Getrusage(unix.RUSAGE_SELF, &own) != nil || usage.Maxrss <= own.Maxrss {
		return 0
	}
	return usage.Maxrss << 10
}
