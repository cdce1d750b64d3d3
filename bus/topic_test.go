package bus

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckTopic(t *testing.T) {
	for _, good := range []string{"a", "rlp/runs/1/events", "agent/writer@draft", "é/ü", "a b",
		strings.Repeat("a/", MaxLevels-1) + "a", strings.Repeat("x", MaxTopic)} {
		if err := errors.Join(CheckTopic(good), CheckFilter(good)); err != nil {
			t.Errorf("%.40q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", "a\x00b", "a\nb", "\x1b[2J", "\xff", "a\u2028b",
		strings.Repeat("a/", MaxLevels) + "a", strings.Repeat("x", MaxTopic+1)} {
		if err := CheckTopic(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("topic %.40q: %v", bad, err)
		}
		if err := CheckFilter(bad); !errors.Is(err, ErrTopic) {
			t.Errorf("filter %.40q: %v", bad, err)
		}
	}
	for _, filter := range []string{"#", "+", "a/#", "+/+", "a/+/#", "+/a"} {
		if err := CheckFilter(filter); err != nil {
			t.Errorf("filter %q: %v", filter, err)
		}
		if err := CheckTopic(filter); !errors.Is(err, ErrTopic) {
			t.Errorf("topic %q: %v", filter, err)
		}
	}
	for _, filter := range []string{"a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+", "##", "/#", "a//#"} {
		if err := CheckFilter(filter); !errors.Is(err, ErrTopic) {
			t.Errorf("filter %q: %v", filter, err)
		}
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/b", "a/c", false},
		{"+", "a", true}, {"+", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+/c", "a/b/c", true}, {"+/+", "a/b", true}, {"+/b", "a/c", false},
		{"#", "a", true}, {"#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true},
		{"a/#", "ab", false}, {"a/b/#", "a", false}, {"+/#", "a", true}, {"a/+/#", "a/b", true},
		{"a/+/#", "a", false},
	}
	for _, tt := range tests {
		if got := Matches(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Matches(%q, %q) = %v", tt.filter, tt.topic, got)
		}
	}
}

// drawFilter generates short filters over two letters, so that they meet.
func drawFilter(t *rapid.T, name string) string {
	levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "+"}), 1, 4).Draw(t, name)
	if rapid.Bool().Draw(t, name+" has #") {
		levels[len(levels)-1] = "#"
	}
	return strings.Join(levels, "/")
}

// shortTopics are all topics over two letters of up to five levels.
func shortTopics() []string {
	topics := []string{"a", "b"}
	for i := 0; i < len(topics); i++ {
		if len(topics[i]) < 9 {
			topics = append(topics, topics[i]+"/a", topics[i]+"/b")
		}
	}
	return topics
}

// TestTreeFindsWhatMatches compares the tree with trying each filter.
func TestTreeFindsWhatMatches(t *testing.T) {
	topics := shortTopics()
	rapid.Check(t, func(t *rapid.T) {
		var tree node
		var all []*target
		for range rapid.IntRange(1, 12).Draw(t, "filters") {
			sub := &target{filter: drawFilter(t, "filter")}
			all = append(all, sub)
			n := tree.find(sub.filter)
			n.subs = append(n.subs, sub)
		}
		topic := rapid.SampledFrom(topics).Draw(t, "topic")
		found := make(map[*target]int)
		tree.match(topic, func(n *node) {
			for _, sub := range n.subs {
				found[sub]++
			}
		})
		for _, sub := range all {
			want := 0
			if Matches(sub.filter, topic) {
				want = 1
			}
			if found[sub] != want {
				t.Fatalf("%s found %s %d times, want %d", topic, sub.filter, found[sub], want)
			}
			n := tree.find(sub.filter)
			n.subs = without(n.subs, sub)
			tree.prune(sub.filter)
		}
		if !tree.prune("") {
			t.Fatalf("the tree is not empty: %+v", tree)
		}
	})
}

// TestOverlap compares the answer with trying all short topics.
func TestOverlap(t *testing.T) {
	topics := shortTopics()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawFilter(t, "a"), drawFilter(t, "b")
		want := slices.ContainsFunc(topics, func(s string) bool { return Matches(a, s) && Matches(b, s) })
		if Overlap(a, b) != want || Overlap(b, a) != want {
			t.Fatalf("Overlap(%s, %s) = %v, want %v", a, b, Overlap(a, b), want)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a/b", "+/#", "a//", "#", "\xff"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if CheckFilter(filter) != nil || CheckTopic(topic) != nil {
			return
		}
		var tree node
		tree.find(filter).subs = []*target{{filter: filter}}
		found := 0
		tree.match(topic, func(n *node) { found += len(n.subs) })
		if Matches(filter, topic) != (found == 1) || found > 1 {
			t.Fatalf("%q takes %q: found %d", filter, topic, found)
		}
		if Overlap(filter, topic) != (found == 1) {
			t.Fatalf("Overlap(%q, %q) is wrong", filter, topic)
		}
	})
}
