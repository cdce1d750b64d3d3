// Package tui shows runs on a terminal. [Run] is the state of one run as its
// events tell it and knows nothing of terminals; [Render] makes lines of it;
// [Inline] keeps those lines current at the end of the scrollback.
//
// Everything that came from an agent reaches the screen through a [Sanitizer].
package tui
