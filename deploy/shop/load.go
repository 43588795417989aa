package main

import "errors"

func loadRole([]string) error { return errors.New("not yet written") }
