// Nothing is called from Swift: the library is only loaded before a program.
