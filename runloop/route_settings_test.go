package runloop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/runloop-os/runloop/router/enter"
)

// settingsBench is a configuration of a test's own: the machine's file, the
// user's, and one more that RUNLOOP_CONFIG may name.
type settingsBench struct {
	dir   string
	env   []string
	files [3]string
	n     int
}

func newSettingsBench(dir string) *settingsBench {
	b := &settingsBench{dir: dir, files: [...]string{
		filepath.Join(dir, "etc.yaml"), filepath.Join(dir, "home", ".runloop", "config.yaml"), filepath.Join(dir, "other.yaml"),
	}}
	if err := os.MkdirAll(filepath.Dir(b.files[1]), 0o700); err != nil {
		panic(err)
	}
	return b
}

func (b *settingsBench) source() configSource {
	return configSource{environ: b.env, home: filepath.Join(b.dir, "home"), system: b.files[0]}
}

func (b *settingsBench) from() enter.Sources {
	s := b.source()
	return enter.Sources{Environ: s.environ, Home: s.home, System: s.system}
}

// plainSettings reads the configuration and nothing else.
func plainSettings(src configSource) (*enter.Settings, error) {
	cfg, err := src.load()
	if err != nil {
		return nil, err
	}
	return routerSettings(cfg), nil
}

// write puts a configuration where a file may lie, in one of the ways in which
// people and their tools do. Each content has another length: two changes within
// one tick of the clock are what [enter.Sources.Remember] waits out.
func (b *settingsBench) write(t *rapid.T, name string) error {
	text := rapid.SampledFrom(settingsTexts).Draw(t, "text")
	b.n++
	text += "\n#" + strings.Repeat("x", b.n)
	switch rapid.SampledFrom([]string{"in place", "rename", "link", "remove"}).Draw(t, "how") {
	case "in place":
		if st, err := os.Lstat(name); err == nil && !st.Mode().IsRegular() {
			os.RemoveAll(name)
		}
		return os.WriteFile(name, []byte(text), 0o600)
	case "rename":
		os.RemoveAll(name)
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			return err
		}
		return os.Rename(name+".new", name)
	case "link":
		to := fmt.Sprintf("%s/target%d", b.dir, b.n)
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return err
		}
		os.RemoveAll(name)
		return os.Symlink(to, name)
	default:
		return os.RemoveAll(name)
	}
}

var settingsTexts = []string{
	"", "version: 1", "router: {denylist: [mkfs, 'rm -rf /']}", "router:\n  allowlist: [jira, \"/^t .*/\"]\n",
	"router:\n  known_commands: [deploy, tf]\n  fastpath_shell: false", "router: {fastpath_shell: true}",
	"router: {denylist: [\"a\\tb\\u2028 \\\"c\\\"\"]}", "router: {denylist: ['/(/']}", "router: {denylist: []}",
	"runtime: {workdir: /var/state}", "runtime: {workdir: ~/state}", "runtime: {workdir: state}", "runtime: {workdir: ''}",
	"logging: {file: here.log}", "logging: {level: loud}", "version: 2", "router: {deny: [x]}", "router: [", "router: 7",
	"policy: {isolation: worker}\nrouter: {denylist: [dd]}", "policy: {confirm_external_actions: true}",
	"security: {confirm_external_actions: false}", "policy: {caps: {'exec': []}}", "a: &x 1\nb: *x",
	"router: {denylist: [one]}\n---\nrouter: {allowlist: [two]}",
}

// TestSettingsAreThoseOfTheLoader: whatever happens to the files, what is
// remembered is what reading them all would give.
func TestSettingsAreThoseOfTheLoader(t *testing.T) {
	t.Chdir(t.TempDir()) // and from there to others
	recalled := 0
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "settings")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		b := newSettingsBench(dir)
		envs := [][]string{nil, {"RUNLOOP_CONFIG=" + b.files[2]}, {"RUNLOOP_CONFIG=other.yaml"},
			{"RUNLOOP__ROUTER__DENYLIST=env"}, {"RUNLOOP__ROUTER__DENYLIST="}, {"RUNLOOP_ROUTER_SHELL=zsh"}}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "change") {
				if err := b.write(rt, rapid.SampledFrom(b.files[:]).Draw(rt, "file")); err != nil {
					rt.Fatal(err)
				}
			}
			b.env = rapid.SampledFrom(envs).Draw(rt, "env")
			if err := os.Chdir(rapid.SampledFrom([]string{dir, filepath.Join(dir, "home")}).Draw(rt, "folder")); err != nil {
				rt.Fatal(err)
			}
			for range 2 { // at first it may be read, then recalled
				want, wantErr := plainSettings(b.source())
				got, ok := b.from().Recall()
				var gotErr error
				if ok {
					recalled++
				} else {
					got, gotErr = loadSettings(b.source(), b.from(), time.Now().Add(time.Hour))
				}
				if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
					rt.Fatalf("recalled %v: error %v, want %v", ok, gotErr, wantErr)
				}
				if wantErr == nil && !reflect.DeepEqual(normal(got), normal(want)) {
					rt.Fatalf("recalled %v: %+v, want %+v", ok, got, want)
				}
			}
		}
	})
	if recalled < 50 {
		t.Errorf("only %d times was anything recalled", recalled)
	}
}

// normal makes an empty list and none the same.
func normal(s *enter.Settings) enter.Settings {
	n := *s
	for _, list := range []*[]string{&n.Deny, &n.Allow, &n.Known} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return n
}

// TestSettingsOfNow: a file that changed just now is not remembered, because the
// next change might not show.
func TestSettingsOfNow(t *testing.T) {
	b := newSettingsBench(t.TempDir())
	if err := os.WriteFile(b.files[1], []byte("router: {denylist: [dd]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSettings(b.source(), b.from(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.from().Recall(); ok {
		t.Error("recalled at once")
	}
	if _, err := loadSettings(b.source(), b.from(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s, ok := b.from().Recall(); !ok || len(s.Deny) != 1 {
		t.Errorf("not recalled later: %v %v", s, ok)
	}
}

// TestSettingsOfAFolder: what depends on the current folder is not remembered.
func TestSettingsOfAFolder(t *testing.T) {
	for text, kept := range map[string]bool{
		"runtime: {workdir: state}": false, "logging: {file: here.log}": false,
		"runtime: {workdir: ~/state}": true, "runtime: {workdir: /state}": true,
	} {
		b := newSettingsBench(t.TempDir())
		if err := os.WriteFile(b.files[1], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadSettings(b.source(), b.from(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, ok := b.from().Recall(); ok != kept {
			t.Errorf("%s: remembered %v", text, ok)
		}
	}
}

// TestHostileSettings: whatever lies where the small file belongs counts for
// nothing, and is not waited for.
func TestHostileSettings(t *testing.T) {
	b := newSettingsBench(t.TempDir())
	if err := os.WriteFile(b.files[1], []byte("router: {denylist: [dd]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.dir, "home", ".cache", "runloop", "router-settings")
	remember := func() []byte {
		t.Helper()
		os.RemoveAll(path)
		if _, err := loadSettings(b.source(), b.from(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	whole := remember()
	if _, ok := b.from().Recall(); !ok {
		t.Fatal("a whole file is not believed")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	for i := range whole {
		broken := append([]byte(nil), whole...)
		broken[i] ^= 1
		for _, data := range [][]byte{broken, whole[:i]} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, ok := b.from().Recall(); ok {
				t.Fatalf("believed with byte %d changed or cut off there: %+v", i, s)
			}
		}
	}
	for name, spoil := range map[string]func() error{
		"for all": func() error { return os.Chmod(path, 0o666) },
		"a link": func() error {
			return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
		},
		"a folder": func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a fifo":   func() error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"huge":     func() error { return os.Truncate(path, 1<<40) },
	} {
		remember()
		if err := spoil(); err != nil {
			t.Fatal(name, err)
		}
		if _, ok := b.from().Recall(); ok {
			t.Errorf("%s: believed", name)
		}
	}
}
