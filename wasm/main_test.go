package wasm

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, ok := RunChild(os.Args); ok { // the tests' own binary is the program
		os.Exit(code)
	}
	if os.Args[0] == spyName {
		os.Exit(spyMain())
	}
	code := m.Run()
	if err := testRuntime().Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
