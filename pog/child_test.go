package pog

import "fmt"

// children are the programs a test can start in a process of its own.
var children = map[string]func(dir string) error{}

// runChild runs one of them and returns its exit status.
func runChild(name, dir string) int {
	f, ok := children[name]
	if !ok {
		fmt.Println("no such child:", name)
		return 2
	}
	if err := f(dir); err != nil {
		fmt.Println("child:", err)
		return 1
	}
	return 0
}
