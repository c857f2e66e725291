from targets import *
