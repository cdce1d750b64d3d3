package main

func codecRows(rounds int) []row     { return nil }
func inProcessRows(rounds int) []row { return nil }
