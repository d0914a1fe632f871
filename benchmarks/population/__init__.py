"""The population: more than two hundred networks, with and without backdoors, on which every detector is calibrated and judged."""
