module bridge.dev/ide/orders

go 1.24
