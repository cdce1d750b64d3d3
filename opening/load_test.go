package opening

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestBad holds the complete list of problems of every bad file against the
// golden text beside it.
func TestBad(t *testing.T) {
	for _, path := range files(t, "bad/*.yaml") {
		name := strings.TrimSuffix(path[strings.LastIndexByte(path, '/')+1:], ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(name+".yaml", data, crew(), nil)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems", err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".txt", []byte(ps.Text()))
		})
	}
}

func TestGood(t *testing.T) {
	for _, path := range files(t, "good/*.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Load(path, data, crew(), nil)
		if err != nil {
			t.Fatal(err.(Problems).Text())
		}
		golden(t, strings.TrimSuffix(path, ".yaml")+".ir.json", append(p.IR, '\n'))
	}
}
