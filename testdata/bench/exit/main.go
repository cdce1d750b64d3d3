// Command exit ends at once. It is what the start of any Go program costs, and
// so the reference for commands that run on every key.
package main

func main() {}
