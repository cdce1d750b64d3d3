package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTypedAccess(t *testing.T) {
	c, err := NewCall(strings.NewReader(input), noHost)
	if err != nil {
		t.Fatal(err)
	}
	with, err := With[struct{ Tone string }](c)
	if err != nil || with.Tone != "warm" {
		t.Errorf("with %+v %v", with, err)
	}
	type person struct{ Name string }
	who, err := One[person](c, "who")
	if err != nil || who.Name != "Ada" {
		t.Errorf("one %+v %v", who, err)
	}
	all, err := All[person](c, "who")
	if err != nil || len(all) != 2 || all[1].Name != "Bo" {
		t.Errorf("all %+v %v", all, err)
	}
	if none, err := All[person](c, "none"); err != nil || len(none) != 0 {
		t.Errorf("none %+v %v", none, err)
	}
	if _, err := One[person](c, "none"); err == nil {
		t.Error("a value came from nowhere")
	}
	if _, err := All[int](c, "who"); err == nil || !strings.Contains(err.Error(), "value 1") {
		t.Errorf("another type: %v", err)
	}
}

func TestCodes(t *testing.T) {
	denied := fmt.Errorf("asking: %w", &Error{Code: "denied"})
	if !Denied(denied) || Denied(errors.New("denied")) || CodeOf(nil) != "" {
		t.Error("codes are not told apart")
	}
}

func ExampleHandlers_Serve() {
	greet := func(c *Call) error {
		with, err := With[struct{ Name string }](c)
		if err != nil {
			return err
		}
		return c.Out("out", "hello "+with.Name)
	}
	stdin := strings.NewReader(`{"v":1,"agent":"greeter","node":"n","with":{"name":"Ada"},"inputs":{}}`)
	var stdout, stderr strings.Builder
	status := Handlers{"greeter": greet}.Serve("greeter", stdin, &stdout, &stderr,
		func(op string, _ json.RawMessage) (json.RawMessage, error) {
			return nil, &Error{Code: "denied", Message: "denied:" + op}
		})
	fmt.Println(status, stdout.String())
	// Output: 0 {"out":"hello Ada"}
}
