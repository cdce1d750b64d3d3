package runloop

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// ciReport is what rlp ci found, in the order of the files' names.
type ciReport struct {
	Runs       []ciResult `json:"runs"`
	Passed     int        `json:"passed"`
	Failed     int        `json:"failed"`
	Errors     int        `json:"errors"`
	DurationMS int64      `json:"duration_ms"`
}

func (r *ciReport) add(run ciResult) {
	r.Runs = append(r.Runs, run)
	switch run.Result {
	case ciPass:
		r.Passed++
	case ciFail:
		r.Failed++
	default:
		r.Errors++
	}
}

// exit is the error for the exit code: 2 when something could not be looked at
// weighs more than 1 for a difference.
func (r *ciReport) exit(dir string) error {
	switch {
	case len(r.Runs) == 0:
		return usageErrorf("no recorded run below %s (rlp runs export makes some)", dir)
	case r.Errors > 0:
		return &exitError{code: exitUsage, err: errShown}
	case r.Failed > 0:
		return &exitError{code: exitFailed, err: errShown}
	}
	return nil
}

// text is the report for people.
func (r *ciReport) text() string {
	var b strings.Builder
	for _, run := range r.Runs {
		fmt.Fprintf(&b, "%-5s %s", run.Result, printable(run.File))
		if run.Opening != "" {
			fmt.Fprintf(&b, "  (%s, %d ms)", printable(run.Opening), run.DurationMS)
		}
		b.WriteString("\n")
		for _, n := range run.Notes {
			fmt.Fprintf(&b, "      note: %s\n", printable(n))
		}
		if why := run.why(); why != "" {
			fmt.Fprintf(&b, "      %s\n", printable(why))
		}
		for _, line := range run.firstLines() {
			fmt.Fprintf(&b, "        %s\n", printable(line))
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d unreadable in %d ms\n", r.Passed, r.Failed, r.Errors, r.DurationMS)
	return b.String()
}

// why says in a sentence what is wrong.
func (r *ciResult) why() string {
	switch {
	case r.Error != "":
		return r.Error
	case r.First != nil:
		return "first divergent step: " + r.First.String()
	}
	return ""
}

// firstLines is the diff of the first divergent step.
func (r *ciResult) firstLines() []string {
	if r.First == nil {
		return nil
	}
	for _, n := range r.Replay.Nodes {
		if n.Node != r.First.Node {
			continue
		}
		for _, d := range n.Differences {
			if d.Kind == r.First.Kind {
				return append(n.Opening, d.Lines...)
			}
		}
	}
	return nil
}

// The JUnit form that build servers read.
type (
	junitSuites struct {
		XMLName xml.Name   `xml:"testsuites"`
		Suite   junitSuite `xml:"testsuite"`
	}

	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"` // seconds
		Cases    []junitCase `xml:"testcase"`
	}

	junitCase struct {
		Name    string      `xml:"name,attr"`
		Class   string      `xml:"classname,attr"`
		Time    string      `xml:"time,attr"`
		Failure *junitFault `xml:"failure,omitempty"`
		Error   *junitFault `xml:"error,omitempty"`
		Out     string      `xml:"system-out,omitempty"`
	}

	junitFault struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit is the report as XML: a test case for each run.
func (r *ciReport) junit() ([]byte, error) {
	suite := junitSuite{
		Name: "rlp ci", Tests: len(r.Runs), Failures: r.Failed, Errors: r.Errors, Time: seconds(r.DurationMS),
	}
	for _, run := range r.Runs {
		c := junitCase{
			Name: printable(run.File), Class: printable(run.Opening), Time: seconds(run.DurationMS),
			Out: printableText(strings.Join(run.Notes, "\n")),
		}
		fault := &junitFault{
			Message: printable(run.why()), Type: "divergence", Text: printableText(strings.Join(run.firstLines(), "\n")),
		}
		switch run.Result {
		case ciFail:
			if run.First != nil {
				fault.Type = run.First.Kind
			}
			c.Failure = fault
		case ciError:
			fault.Type = "unreadable"
			c.Error = fault
		}
		suite.Cases = append(suite.Cases, c)
	}
	doc, err := xml.MarshalIndent(junitSuites{Suite: suite}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append([]byte(xml.Header), append(doc, '\n')...), nil
}

func seconds(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }
