from evaluators import *
