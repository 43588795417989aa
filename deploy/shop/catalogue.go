package main

// What the shop sells: the one table behind prices and stock.

type product struct {
	cents int64
	count int
}

var catalogue = map[string]product{
	"coffee": {cents: 350, count: 42},
	"tea":    {cents: 280, count: 17},
	"cake":   {cents: 420, count: 3},
}

const defaultItem = "coffee"
