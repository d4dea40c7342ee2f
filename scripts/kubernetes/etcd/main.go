// etcd as it is, for scripts/apiserver: its own module cannot be built from a proxy.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
