"""Models as LiteRT flatbuffers: conversion, the interpreter, and a look inside."""
