package wasm

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// processUsage is what a process takes.
type processUsage struct {
	resident uint64 // bytes
	cpu      time.Duration
}

// clockTick is the unit of times in /proc: USER_HZ, which is 100 wherever Linux
// runs Go (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html).
const clockTick = time.Second / 100

// processUse reads what a process of ours takes; what cannot be read is 0.
func processUse(pid int) (u processUsage) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	// The second field is the name, in parentheses, and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return u
	}
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(string(fields[i-3]), 10, 64)
		return n
	}
	u.cpu = time.Duration(number(14)+number(15)) * clockTick
	u.resident = number(24) * uint64(os.Getpagesize())
	return u
}
